"""What a training job makes smaller: one file a loss, whose function `loss` returns the `Loss`."""
