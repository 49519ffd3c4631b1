"""What a run is: its stages, its workdir, its model folders, its experiment by name."""
