"""The pure core: state, programs, epochs, losses, metrics, optimizers. No I/O, no clock, no logging."""
