"""`.tflite` files: writing them from Keras models, and reading them back."""
