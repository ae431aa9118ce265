"""Images from the web: vetted connections, bounded downloads."""
