package membership

import (
	"testing"
	"time"
)

// A usual lease changes nothing; a long one gives slow machines more time for a
// proposal, and competitors that much longer pauses.
func TestPatienceFollowsTheLease(t *testing.T) {
	for _, c := range []struct{ lease, attempt, catchUp, rank, spread time.Duration }{
		{100 * time.Millisecond, attemptWait, time.Second, 50 * time.Millisecond, 0},
		{3 * time.Second, attemptWait, time.Second, 50 * time.Millisecond, 0},
		{4 * time.Second, attemptWait, time.Second, 50 * time.Millisecond, 0},
		{40 * time.Second, 20 * time.Second, 10 * time.Second, 500 * time.Millisecond, 2250 * time.Millisecond},
	} {
		s := &Service{lease: int64(c.lease)}
		if d := s.spread(); d != c.spread || s.pace() != max(d, time.Millisecond) {
			t.Errorf("lease %v: spread %v, pace %v before any proposal", c.lease, d, s.pace())
		}
		if a, b, r := s.patience(attemptWait, 2), s.patience(time.Second, 4), s.patience(50*time.Millisecond, 80); a != c.attempt || b != c.catchUp || r != c.rank {
			t.Errorf("lease %v: %v, %v, %v", c.lease, a, b, r)
		}
		for range 100 {
			s.took(time.Minute)
		}
		if d := s.pace() - c.attempt/4; d > 0 || d < -time.Microsecond {
			t.Errorf("lease %v: pace %v after proposals of a minute", c.lease, s.pace())
		}
	}
}
