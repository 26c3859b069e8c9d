//go:build plant

package replica

// planted lets a test build acknowledge INVs that it does not apply.
type planted struct{ PlantSkip int }

func (p *planted) skip() bool {
	if p.PlantSkip == 0 {
		return false
	}
	p.PlantSkip--
	return true
}
