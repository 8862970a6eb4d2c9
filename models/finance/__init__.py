"""Finance: what people see of their accounts, and the credit they are given."""
