"""Search over partial solutions: branches are written, judged and given up."""
