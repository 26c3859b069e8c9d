//go:build !plant

package replica

// planted is empty outside the build in which tests plant bugs.
type planted struct{}

func (planted) skip() bool { return false }
