"""What runs say: the lines that end one, documented beside measured losses, rankings, tables and plots."""
