"""The logic of action plugins: requests, rolling restarts, leadership; and the progress of a playbook run."""
