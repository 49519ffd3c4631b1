"""What is concluded from stored samples: ranks, votes, statistics, the report page. Only `score` knows a device; the rest is numpy."""
