"""An examination of the installation: what is here, is it whole, does it answer rightly?"""
