//go:build race

package resp

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// readNow and writeNow for the race detector, which has to hear of the bytes and
// of the order that a socket makes between its two ends: package syscall tells
// it, as package net does.

func readNow(fd int, b []byte) (int, unix.Errno) {
	n, err := syscall.Read(fd, b)
	return n, errnoOf(err)
}

func writeNow(fd int, b, more []byte) (int, unix.Errno) {
	n, err := syscall.Write(fd, b)
	if n == len(b) && len(more) > 0 {
		if m, err := syscall.Write(fd, more); err == nil {
			n += m
		}
	}
	return n, errnoOf(err)
}

func errnoOf(err error) (e unix.Errno) {
	errors.As(err, &e)
	return e
}
