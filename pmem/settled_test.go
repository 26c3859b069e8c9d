package pmem

import "testing"

// What was called stable just before the process died may not have been
// unlocked in the index yet; the replay over the kept index begins below it.
func TestStableButStillLocked(t *testing.T) {
	at := testPlace(t, DomainMemory)
	at.format(t, DomainMemory, 16<<20)
	p := at.open(t)
	begin(t, p, 1)
	put(p, 1, 1, true)
	flush(t, p)
	flush(t, p)
	p.SetStable(p.Store().Tail())
	closePool(t, p, false) // as a crash: nobody has unlocked it
	p = at.open(t)
	if !p.Recovered().Kept {
		t.Fatalf("index not kept: %s", p.Recovered().How())
	}
	check(t, p, 1, 1, false)
	closePool(t, p, false)
}
