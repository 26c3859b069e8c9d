//go:build !plant

package index

import "sync/atomic"

// planted says that this build carries the race the tests must find.
const planted = false

// storeWord publishes one word of a page. It pairs with the loads in
// (*Cursor).scan, (*Cursor).next and (*Cursor).Valid.
func storeWord(p *uint64, w uint64) { atomic.StoreUint64(p, w) }
