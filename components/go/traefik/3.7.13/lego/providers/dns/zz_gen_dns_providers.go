// Package dns takes the place of lego's list of providers for DNS challenges, without any: modules of some vendors are
// not available, and kubeproof obtains no certificates by ACME.
package dns

import (
	"fmt"

	"github.com/go-acme/lego/v5/challenge"
)

// NewDNSChallengeProviderByName fails: this build has no providers.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	return nil, fmt.Errorf("this build has no provider for DNS challenges: %s", name)
}
