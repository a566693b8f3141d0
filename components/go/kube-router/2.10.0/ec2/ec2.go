// Package ec2 stands in for the client of Amazon EC2, the largest package of kube-router by far: minutes and four
// gigabytes of memory to compile. kube-router's router asks EC2 to let a machine send what is not from its own address;
// network policies, which are all that kubeproof runs of it, do not.
package ec2

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Client asks EC2 nothing.
type Client struct{}

// NewFromConfig makes a client.
func NewFromConfig(aws.Config) *Client {
	return &Client{}
}

// ModifyInstanceAttributeInput is what kube-router would change.
type ModifyInstanceAttributeInput struct {
	InstanceId      *string
	SourceDestCheck *types.AttributeBooleanValue
}

// ModifyInstanceAttributeOutput says nothing.
type ModifyInstanceAttributeOutput struct{}

// ModifyInstanceAttribute fails: kube-router logs why, and goes on.
func (*Client) ModifyInstanceAttribute(
	context.Context, *ModifyInstanceAttributeInput,
) (*ModifyInstanceAttributeOutput, error) {
	return nil, errors.New("this kube-router is built without the client of EC2")
}
