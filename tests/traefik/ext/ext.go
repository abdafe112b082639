// Package ext stands for what others may add to Traefik's configuration: nothing.
package ext

// HTTP adds nothing to the whole.
type HTTP struct{}

// Router adds nothing to a router.
type Router struct{}
