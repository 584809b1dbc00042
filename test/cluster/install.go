package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
)

const (
	// OperatorNamespace is the namespace of the operator in config/default.
	OperatorNamespace = "securitybaseline-system"
	// operatorServiceAccount is the operator's ServiceAccount in that namespace.
	operatorServiceAccount = "securitybaseline-manager"
	// tokenLifetime is the lifetime of the operator's token. It is longer than any test
	// run.
	tokenLifetime = 12 * time.Hour
)

// Install installs config/default, like make deploy. The Deployment gets no pods because
// there are no nodes; the operator runs as a process on this machine.
func (c *Cluster) Install(ctx context.Context) error {
	for _, args := range [][]string{
		{"apply", "--server-side", "--force-conflicts", "-k", filepath.Join(Root(), "config", "default")},
		{"wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"},
	} {
		if out, err := c.Kubectl(ctx, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("kubectl %v: %w\n%s", args, err, out)
		}
	}
	return nil
}

// OperatorConfig returns a client configuration for the operator's own ServiceAccount,
// with exactly the permissions of config/default.
func (c *Cluster) OperatorConfig(ctx context.Context) (*rest.Config, error) {
	clients, err := kubernetes.NewForConfig(c.Admin)
	if err != nil {
		return nil, fmt.Errorf("creating a client: %w", err)
	}
	token, err := clients.CoreV1().ServiceAccounts(OperatorNamespace).CreateToken(ctx, operatorServiceAccount,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			ExpirationSeconds: ptr.To(int64(tokenLifetime / time.Second)),
		}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("requesting a token for the operator: %w", err)
	}
	config := rest.AnonymousClientConfig(c.Admin)
	config.BearerToken = token.Status.Token
	config.QPS = -1
	return config, nil
}

// WriteKubeconfig writes a kubeconfig into the cluster's directory and returns its path.
func (c *Cluster) WriteKubeconfig(name string, config *rest.Config) (string, error) {
	const only = "local"
	kubeconfig := clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{only: {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{only: {Token: config.BearerToken}},
		Contexts:       map[string]*clientcmdapi.Context{only: {Cluster: only, AuthInfo: only}},
		CurrentContext: only,
	}
	path := filepath.Join(c.dir, name)
	if err := clientcmd.WriteToFile(kubeconfig, path); err != nil {
		return "", fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return path, nil
}
