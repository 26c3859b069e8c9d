package pmem
import "healkv/pmem/index"
func (p *Pool) Index0() *index.Index { return p.index }
