"""What is concluded from stored samples: rankings, votes, statistics and the report page. Only `score` knows a device; the rest is numpy."""
