"""Log-ins: one per device that logged in, with its refresh token."""
