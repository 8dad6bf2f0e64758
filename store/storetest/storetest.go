// Package storetest gives tests real databases: SQLite in a temporary directory, and Postgres.
package storetest

import (
	"crypto/rand"
	"net/url"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/mayflyca/mayfly/store"
)

// configs remembers how each store was opened, for Reopen.
var configs sync.Map // *store.Store → store.Config

// Each runs f as a subtest on SQLite and on Postgres.
func Each(t *testing.T, f func(t *testing.T, s *store.Store)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { f(t, SQLite(t)) })
	t.Run("Postgres", func(t *testing.T) { f(t, Postgres(t)) })
}

// SQLite opens a fresh database in a temporary directory.
func SQLite(t testing.TB) *store.Store {
	t.Helper()
	return Open(t, store.Config{DataDir: t.TempDir(), Migrate: true})
}

// Postgres opens a fresh database, copied from one that has the schema already.
func Postgres(t testing.TB) *store.Store {
	t.Helper()
	server := sharedServer(t)
	return Open(t, store.Config{DatabaseURL: server.database(t, server.template(t)), Migrate: true})
}

// PostgresURL makes a fresh, empty database.
func PostgresURL(t testing.TB) string {
	t.Helper()
	return sharedServer(t).database(t, "template0")
}

// Open opens a store and closes it with the test.
func Open(t testing.TB, c store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	configs.Store(s, c)
	t.Cleanup(func() {
		configs.Delete(s)
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

// Reopen closes s and opens its database anew, as a restart does.
func Reopen(t testing.TB, s *store.Store) *store.Store {
	t.Helper()
	c, ok := configs.Load(s)
	if !ok {
		t.Fatal("storetest.Reopen: not a store that storetest opened, or reopened already")
	}
	if err := s.Close(); err != nil {
		t.Fatalf("closing the store: %v", err)
	}
	return Open(t, c.(store.Config))
}

var (
	sharedOnce sync.Once
	shared     *Server
	sharedErr  error
)

// sharedServer is the one of this process, or the one that MAYFLY_TEST_DATABASE_URL names.
func sharedServer(t testing.TB) *Server {
	t.Helper()
	sharedOnce.Do(func() {
		if given := os.Getenv("MAYFLY_TEST_DATABASE_URL"); given != "" {
			shared = &Server{url: given}
			return
		}
		shared, sharedErr = startServer(false)
	})
	return usable(t, shared, sharedErr)
}

// database creates one by copying template, and drops it with the test.
func (s *Server) database(t testing.TB, template string) string {
	t.Helper()
	name := "test_" + rand.Text()
	s.exec(t, `CREATE DATABASE `+pgx.Identifier{name}.Sanitize()+
		` TEMPLATE `+pgx.Identifier{template}.Sanitize())
	t.Cleanup(func() {
		if s.running() {
			s.exec(t, `DROP DATABASE IF EXISTS `+pgx.Identifier{name}.Sanitize()+` WITH (FORCE)`)
		}
	})
	return s.urlOf(t, name)
}

func (s *Server) urlOf(t testing.TB, database string) string {
	parsed, err := url.Parse(s.url)
	if err != nil {
		t.Fatalf("reading the server's URL: %v", err)
	}
	parsed.Path = "/" + database
	return parsed.String()
}

// template makes a database with the schema, once per server.
func (s *Server) template(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.templateName == "" {
		name := "template_" + rand.Text()
		s.exec(t, `CREATE DATABASE `+pgx.Identifier{name}.Sanitize())
		made, err := store.Open(t.Context(),
			store.Config{DatabaseURL: s.urlOf(t, name), Migrate: true})
		if err != nil {
			t.Fatalf("making the template database: %v", err)
		}
		if err := made.Close(); err != nil {
			t.Fatalf("making the template database: %v", err)
		}
		s.templateName = name
	}
	return s.templateName
}
