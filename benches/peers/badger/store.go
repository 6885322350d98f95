package main

// BadgerDB, set as its own documents advise. What is called here but WithTruncate is there in its
// version 4 as well, under another path of import and with other defaults; only 2.2007.2 was tried.

import (
	"errors"
	"fmt"
	"math"

	"github.com/dgraph-io/badger"
	"github.com/dgraph-io/badger/options"
)

// What differs from the defaults, and what a reader of the tables should know of these.
const settings = "defaults: no compression, so no block cache, tables and value log mapped, " +
	"values below 1 KiB in the tables, files of the value log up to 1 GiB; but " +
	"DetectConflicts=false, as no put depends on a read, Truncate=true, iterators without " +
	"prefetch, which is slower in memory; compact: Flatten, then RunValueLogGC(0.5) until it " +
	"rewrites nothing; os: SyncWrites=false, each commit goes to the kernel; sync: " +
	"SyncWrites=true, O_DSYNC"

// A commit is written to the value log by write(2) before it returns, and the next open replays the
// log: the kernel has the bytes, and a killed process loses none. O1b shows it.
const survivesKill = true

// How much of a file of the value log has to be dead for it to be rewritten, as is recommended.
const discardRatio = 0.5

// As many as there are compactors by default.
const flattenWorkers = 2

const all = math.MaxInt

// A store that is open. Writes are durable as the level that it was opened with says.
type store struct {
	db   *badger.DB
	dir  string
	sync bool
}

func openStore(dir string, sync bool) (*store, error) {
	db, err := badger.Open(badger.DefaultOptions(dir).
		WithSyncWrites(sync).
		// Without compression a cache of blocks costs time and gives nothing: tables are mapped.
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithNumVersionsToKeep(1).
		// No put here depends on what was read.
		WithDetectConflicts(false).
		// What was written in part when the process died goes; otherwise it refuses to open. Since
		// version 3 it does this unasked and has no such option.
		WithTruncate(true).
		// What goes wrong in the background is said on standard error.
		WithLoggingLevel(badger.ERROR))
	if err != nil {
		return nil, fmt.Errorf("opening the store in %s: %w", dir, err)
	}
	return &store{db: db, dir: dir, sync: sync}, nil
}

// Stores one record, in a commit of its own.
func (s *store) put(key, value []byte) error {
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	if err := txn.Set(key, value); err != nil {
		return err
	}
	return txn.Commit()
}

// Stores count records in one commit: all or nothing.
func (s *store) putBatch(count int, record func(i int) (key, value []byte)) error {
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	for i := 0; i < count; i++ {
		if err := txn.Set(record(i)); err != nil {
			return err
		}
	}
	return txn.Commit()
}

// Calls found with the value; whether it is there.
func (s *store) get(key []byte, found func(value []byte) error) (bool, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	item, err := txn.Get(key)
	if err == badger.ErrKeyNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, item.Value(found)
}

// Calls each with up to limit records of the key's kind from the key on, in order, and returns how
// many there were. Of a kind alone it begins at its first.
func (s *store) list(from []byte, limit int, each func(record *badger.Item) error) (int, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	how := badger.DefaultIteratorOptions
	// It would start a goroutine for each record, and read ahead up to a hundred that a short scan
	// does not want: it is meant for disks, and takes two to ten times as long in memory.
	how.PrefetchValues = false
	how.Prefix = kindPrefix(from)
	records := txn.NewIterator(how)
	defer records.Close()
	count := 0
	for records.Seek(from); records.Valid(); records.Next() {
		if err := each(records.Item()); err != nil {
			return count, err
		}
		// Not after the next one was fetched that nobody wants.
		if count++; count == limit {
			break
		}
	}
	return count, nil
}

func (s *store) scan(from []byte, limit int, each func(value []byte) error) (int, error) {
	return s.list(from, limit, func(record *badger.Item) error { return record.Value(each) })
}

func (s *store) keys(kind []byte, each func(key []byte) error) (int, error) {
	return s.list(kind, all, func(record *badger.Item) error { return each(record.Key()) })
}

// Deletes all records of a kind, and returns how many they were. It is not atomic: a transaction
// has its limit at about 100,000 deletes, and a batch is as many of them as it takes.
func (s *store) deleteKind(kind []byte) (int, error) {
	batch := s.db.NewWriteBatch()
	defer batch.Cancel()
	deleted, err := s.keys(kind, func(key []byte) error {
		return batch.Delete(append([]byte(nil), key...))
	})
	if err != nil {
		return deleted, err
	}
	return deleted, batch.Flush()
}

// Makes all that was written durable.
func (s *store) flush() error {
	return s.db.Sync()
}

// Has what is in memory moved into tables, which nothing but a close does.
func (s *store) reopen() error {
	if err := s.close(); err != nil {
		return err
	}
	again, err := openStore(s.dir, s.sync)
	if err != nil {
		return err
	}
	s.db = again.db
	return nil
}

// Takes out all that is dead in the tables and the value log, now, to the end.
func (s *store) compact() error {
	if err := s.db.Flatten(flattenWorkers); err != nil {
		return fmt.Errorf("compacting the tables: %w", err)
	}
	for {
		err := s.db.RunValueLogGC(discardRatio)
		if errors.Is(err, badger.ErrNoRewrite) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("collecting the value log: %w", err)
		}
	}
}

func (s *store) close() error {
	if err := s.flush(); err != nil {
		return err
	}
	return s.db.Close()
}
