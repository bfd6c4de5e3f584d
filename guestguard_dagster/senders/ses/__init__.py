"""Amazon SES: raw mail, one call for each recipient. Needs the extra `ses`."""
