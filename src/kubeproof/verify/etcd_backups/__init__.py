"""What hosts say of their etcd backups, and drills that restore them."""
