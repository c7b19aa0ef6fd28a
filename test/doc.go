// Package test holds what needs more than one package, or a process of its
// own: whole hubs and subscribers, killed and cut off for real.
package test
