// Package types has the one type of EC2's client that kube-router uses.
package types

// AttributeBooleanValue is a switch.
type AttributeBooleanValue struct {
	Value *bool
}
