"""How features change when the camera moves."""
