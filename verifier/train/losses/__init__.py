"""What a training job makes smaller: a module a loss, whose function `loss` returns the `Loss`."""
