"""What runs on the device: the decoder, its cache, value heads, sampling."""
