// A peer that speaks mutual TLS as go-spiffe does, with an identity from a Workload API.
//
//	peer serve SOCKET CLIENT-ID        an MCP server that only this client may reach; prints its address
//	peer call SOCKET SERVER-ID URL     posts stdin to a server of that identity; prints status and body
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

type message struct {
	Id     any            `json:"id"`
	Method string         `json:"method"`
	Params map[string]any `json:"params"`
}

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(os.Args[2])))
	if err != nil {
		log.Fatal(err)
	}
	defer source.Close()
	peer := spiffeid.RequireFromString(os.Args[3])
	if os.Args[1] == "serve" {
		serve(source, peer)
	} else {
		call(source, peer, os.Args[4])
	}
}

func serve(source *workloadapi.X509Source, client spiffeid.ID) {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	config := tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeID(client))
	config.NextProtos = []string{"http/1.1"}
	server := &http.Server{TLSConfig: config, Handler: http.HandlerFunc(answer), ErrorLog: log.New(io.Discard, "", 0)}
	fmt.Println(plain.Addr())
	log.Fatal(server.ServeTLS(plain, "", ""))
}

func answer(w http.ResponseWriter, r *http.Request) {
	id, err := spiffetls.PeerIDFromConnectionState(*r.TLS)
	var asked message
	if err != nil || r.Method != "POST" || json.NewDecoder(r.Body).Decode(&asked) != nil {
		http.Error(w, "", http.StatusMethodNotAllowed)
		return
	}
	var result any
	switch asked.Method {
	case "initialize":
		result = map[string]any{
			"protocolVersion": "2025-11-25", "capabilities": map[string]any{"tools": map[string]any{}},
			"serverInfo": map[string]any{"name": "peer", "version": "1"},
		}
	case "tools/list":
		schema := map[string]any{"type": "object"}
		result = map[string]any{"tools": []any{map[string]any{"name": "whoami", "inputSchema": schema}}}
	case "tools/call":
		result = map[string]any{"content": []any{map[string]any{"type": "text", "text": id.String()}}}
	case "ping":
		result = map[string]any{}
	default:
		if asked.Id == nil {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		reply(w, map[string]any{"jsonrpc": "2.0", "id": asked.Id, "error": map[string]any{"code": -32601, "message": "no"}})
		return
	}
	reply(w, map[string]any{"jsonrpc": "2.0", "id": asked.Id, "result": result})
}

func reply(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

func call(source *workloadapi.X509Source, server spiffeid.ID, url string) {
	config := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(server))
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 20 * time.Second}
	request, err := http.NewRequest("POST", url, os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	response, err := client.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	fmt.Printf("%d\n%s\n", response.StatusCode, body)
}
