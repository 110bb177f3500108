"""What is computed per pixel: a method is one file, its specification and its finish step."""
