"""Training and evaluation of the models that `streamcab` serves. The run-time package never imports this."""
