"""The commands of ``nncf-slb``, one file each."""
