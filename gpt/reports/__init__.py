"""What runs say: closing lines, documented beside measured losses, rankings, tables and plots."""
