package main

// L1.

import (
	"errors"
	"sync/atomic"
	"time"
)

// One thread overwrites records at random; another gets them at random until that is over. Each
// waits for its answer before it asks again.
func besideReader(t *task) error {
	values := makeValues(t.valueLen)
	picked := func(salt int) keys {
		random := newStream(salt, 0)
		return makeKeys(t.ops, func(i int) uint64 { return random.record(i, t.records) })
	}
	toPut := picked(12)
	toGet := picked(13)
	if t.ops == 0 {
		return errors.New("--ops: L1 wants at least one")
	}
	return t.with(func(s *store) error {
		if err := t.load(s, values); err != nil {
			return err
		}
		var over atomic.Bool
		var puts, gets histogram
		_, err := inThreads(2, func(thread int) error {
			if thread == 0 {
				defer over.Store(true)
				for i := 0; i < toPut.len(); i++ {
					start := time.Now()
					if err := s.put(toPut.at(i), values.of(uint64(i), 1)); err != nil {
						return err
					}
					puts.add(time.Since(start))
				}
				return nil
			}
			for i := 0; !over.Load(); i++ {
				start := time.Now()
				if _, err := s.get(toGet.at(i%toGet.len()), touch); err != nil {
					return err
				}
				gets.add(time.Since(start))
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, side := range []struct {
			name  string
			times *histogram
		}{{"put", &puts}, {"get", &gets}} {
			for _, point := range []struct {
				label string
				share float64
			}{{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}} {
				us := side.times.percentileUs(point.share)
				if err := figure(side.name+"_"+point.label+"_us", us); err != nil {
					return err
				}
			}
			if err := figure(side.name+"_max_us", side.times.maxUs()); err != nil {
				return err
			}
		}
		return nil
	})
}
