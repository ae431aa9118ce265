"""Files and folders that clipcli keeps: where they are, how they are written, who holds them."""
