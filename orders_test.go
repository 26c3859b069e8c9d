package healkv

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// An order waits for another one as long as its asker does, and says what is in
// its way.
func TestOrderWaitsWithItsAsker(t *testing.T) {
	var o orders
	o.init()
	_, over, err := o.begin(t.Context(), "drain")
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	refused := make(chan error, 1)
	go func() {
		_, _, err := o.begin(gone, "close")
		refused <- err
	}()
	select {
	case err := <-refused:
		if !errors.Is(err, ErrDrain) || !strings.Contains(err.Error(), "busy: drain is under way since") {
			t.Errorf("beside an order: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("an order outlives its asker")
	}
	over()
	if _, over, err = o.begin(gone, "close"); err != nil {
		t.Errorf("with nobody in the way: %v", err)
	} else {
		over()
	}
}
