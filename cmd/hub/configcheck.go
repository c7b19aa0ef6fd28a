package main

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"github.com/revocast/revocast/hub"
	"github.com/revocast/revocast/internal/token"
)

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Check the configuration, and print what it adds up to, without secrets."`
}

type configCheckCmd struct{ hubFlags }

func (configCheckCmd) Help() string {
	return `Takes what hub serve takes, and starts nothing. Each setting is printed with
where it comes from. Exits with 2 if the hub would not start with it.

Examples:

    hub config check --config hub.yaml
    REVOCAST_RETENTION=30d hub config check`
}

func (c configCheckCmd) Run(std streams, line *kong.Context, where *settings) error {
	cfg, _, err := c.hubConfig(where)
	if err != nil {
		return err
	}
	v, err := token.New(cfg.Issuers, token.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", where.file.path, inFileTerms(err))}
	}
	defer v.Close()

	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	for _, f := range line.Flags() {
		if inFile(f.Value) {
			value := fmt.Sprint(f.Target.Interface())
			if value == "" {
				value = `""`
			}
			fmt.Fprintf(w, "%s: %s\t# %s\n", f.Name, value, where.origin(line, f))
		}
	}
	if len(cfg.Issuers) == 0 {
		fmt.Fprintf(w, "issuers: []\t# tokens of every issuer can be revoked, with lives of up to %s\n", period(token.DefaultMaxTokenLifetime))
	} else {
		fmt.Fprintf(w, "issuers:\t# %s\n", where.file.path)
	}
	for n, i := range cfg.Issuers {
		conf, _ := v.Issuer(i.Iss)
		fmt.Fprintf(w, "  - iss: %s\n", i.Iss)
		switch file := where.file.issuers[n].KeysFile; {
		case conf.JWKSURI != "":
			fmt.Fprintf(w, "    jwks_uri: %s\t# not fetched\n", conf.JWKSURI)
		case file != "":
			fmt.Fprintf(w, "    keys_file: %s\n", file)
		default:
			fmt.Fprintf(w, "    keys: …\t# not shown\n")
		}
		fmt.Fprintf(w, "    algorithms: [%s]\n", strings.Join(conf.Algorithms, ", "))
		fmt.Fprintf(w, "    max_token_lifetime: %s\n", period(conf.MaxTokenLifetime))
		fmt.Fprintf(w, "    skew: %s\n", period(conf.Skew))
		fmt.Fprintf(w, "    types: [%s]\n", quoted(conf.Types))
		if len(conf.Audience) > 0 {
			fmt.Fprintf(w, "    audience: [%s]\n", quoted(conf.Audience))
		}
	}
	for _, k := range cfg.Keys {
		fmt.Fprintf(w, "# API key: %s, which may %s\n", k.Name, joined(k.Roles, ", "))
	}
	for _, k := range cfg.HubKeys {
		fmt.Fprintf(w, "# key of another hub: %s\n", k.KeyID)
	}
	if id := cfg.SigningKey.ID(); id != "" {
		fmt.Fprintf(w, "# key that signs: %s\n", id)
	}
	fmt.Fprintf(w, "# admin key: %s\n", c.adminKeyFrom(where, cfg))
	if err := w.Flush(); err != nil {
		return err
	}
	return c.retentionEnough(v, cfg.Issuers)
}

func (c configCheckCmd) adminKeyFrom(where *settings, cfg hub.Config) string {
	switch {
	case where.env[adminKeyEnv] != "":
		return "from " + adminKeyEnv
	case c.NATS != "":
		return "made and printed by the first hub that starts, unless a key above may do everything"
	case len(cfg.Keys) > 0:
		return "made and printed at the first start, unless a key above may do everything"
	}
	return "made and printed at the first start"
}

// retentionEnough refuses a log that would forget a revocation before the
// token that it revokes has expired, as the hub does when it starts.
func (c configCheckCmd) retentionEnough(v *token.Verifier, issuers []token.Issuer) error {
	longest := token.Issuer{Iss: "any", MaxTokenLifetime: token.DefaultMaxTokenLifetime, Skew: token.DefaultSkew}
	if len(issuers) > 0 {
		longest = token.Issuer{}
	}
	for _, i := range issuers {
		if conf, _ := v.Issuer(i.Iss); conf.MaxTokenLifetime+conf.Skew > longest.MaxTokenLifetime+longest.Skew {
			longest = conf
		}
	}
	if need := longest.MaxTokenLifetime + longest.Skew + time.Second; time.Duration(c.Retention) < need {
		return usagef("retention %s is too short: tokens of issuer %q live up to %s, so want at least %s",
			c.Retention, longest.Iss, period(longest.MaxTokenLifetime), period(need))
	}
	return nil
}

func quoted(list []string) string {
	q := make([]string, len(list))
	for i, s := range list {
		q[i] = strconv.Quote(s)
	}
	return strings.Join(q, ", ")
}
