//go:build !plant

package replica

// plant is empty outside the build in which tests plant bugs.
type plant struct{}

func (plant) skip() bool { return false }
