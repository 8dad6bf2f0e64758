package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/mayflyca/mayfly/config"
)

// readyCommand is the health check of a container that holds nothing but our binary.
type readyCommand struct {
	Config        string  `help:"The configuration file of the server." placeholder:"FILE"`
	MetricsListen *string `help:"The server's metrics.listen (127.0.0.1:8081)." placeholder:"HOST:PORT"`
}

// Help is what "mayfly ready --help" says before the flags.
func (readyCommand) Help() string {
	return `Asks the server on this machine, through the address in metrics.listen. Ends with 0 if it ` +
		`can issue; otherwise says what is missing and ends with 1.`
}

// Run asks /readyz.
func (cmd readyCommand) Run(ctx context.Context, std streams) error {
	flags := map[string]string{}
	if cmd.MetricsListen != nil {
		flags["metrics.listen"] = *cmd.MetricsListen
	}
	c, err := config.Load(config.Source{File: cmd.Config, Environ: os.Environ(), Flags: flags})
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(c.Metrics.Listen)
	if err != nil {
		return fmt.Errorf("reading metrics.listen: %w", err)
	}
	host := listenHost(c.Metrics.Listen)
	if host == "" {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, 2*checkPatience)
	defer cancel()
	if err := askReady(ctx, "http://"+net.JoinHostPort(host, port)+"/readyz"); err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, "ready")
	return err
}

func askReady(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	defer resp.Body.Close()
	var answer readiness
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&answer); err != nil {
		return fmt.Errorf("asking the server: %s is no answer of ours (%s)", url, resp.Status)
	}
	if answer.Ready {
		return nil
	}
	var missing []string
	for name, verdict := range answer.Checks {
		if verdict != "ok" {
			missing = append(missing, name+": "+verdict)
		}
	}
	slices.Sort(missing)
	return fmt.Errorf("not ready: %s", strings.Join(missing, "; "))
}
