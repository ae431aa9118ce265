"""Files of pictures, taken apart: what their pixels do not need cannot make them fail."""
