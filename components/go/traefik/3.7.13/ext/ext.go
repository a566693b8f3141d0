// Package ext stands in for the module of that name, which is not published: what builds of Traefik may add to its
// configuration. This one adds nothing.
package ext

// HTTP is embedded in the configuration of HTTP.
type HTTP struct{}

// Router is embedded in the configuration of a router.
type Router struct{}
