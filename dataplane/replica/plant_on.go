//go:build plant

package replica

// plant lets a test build acknowledge INVs that it does not apply.
type plant struct{ PlantSkip int }

func (p *plant) skip() bool {
	if p.PlantSkip == 0 {
		return false
	}
	p.PlantSkip--
	return true
}
