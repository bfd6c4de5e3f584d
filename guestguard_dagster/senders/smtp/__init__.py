"""Any mail server over SMTP: mail after mail over kept connections."""
