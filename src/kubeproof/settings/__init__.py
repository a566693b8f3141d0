"""What users say and what hosts are: inventories, logins, specifications, facts, and what follows from them."""
