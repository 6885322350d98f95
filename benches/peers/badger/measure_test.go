package main

import (
	"math"
	"testing"
	"time"
)

func TestPercentilesAreOffByLittle(t *testing.T) {
	var times histogram
	for us := 1; us <= 100_000; us++ {
		times.add(time.Duration(us) * time.Microsecond)
	}
	for _, share := range []float64{0.01, 0.5, 0.99, 0.999} {
		if us := times.percentileUs(share); math.Abs(us/(share*1e5)-1) >= 0.04 {
			t.Errorf("%v: %v", share, us)
		}
	}
	if times.maxUs() != 1e5 || times.percentileUs(1) != 1e5 {
		t.Errorf("most: %v, %v", times.maxUs(), times.percentileUs(1))
	}
}

func TestEachLatencyLiesInItsBucket(t *testing.T) {
	lies := func(ns uint64) {
		in := bucket(ns)
		if ns > upperNs(in) || in > 0 && ns <= upperNs(in-1) {
			t.Errorf("%d ns: bucket %d ends at %d", ns, in, upperNs(in))
		}
	}
	for ns := uint64(0); ns < 100_000; ns++ {
		lies(ns)
	}
	lies(math.MaxUint64 / 3)
	lies(1 << 40)
}
