//! What only CEL can say about a gateway.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use super::DbxGateway;
use crate::{
    config::{Managed, Persistence, RESERVED},
    schema::{Rule, definition, rule},
};

const CONFIG: &[&str] = &["spec", "config"];
const DATABASES: &[&str] = &["spec", "config", "databases"];
const DATABASE: &[&str] = &["spec", "config", "databases", "[]"];
const REDIS: &[&str] = &["spec", "config", "databases", "[]", "redis"];
const MANAGED: &[&str] = &["spec", "config", "databases", "[]", "redis", "managed"];
const MEMORY: &[&str] = &["spec", "config", "databases", "[]", "redis", "managed", "resources", "limits"];
const TLS: &[&str] = &["spec", "config", "databases", "[]", "redis", "tls"];
const SENTINEL: &[&str] = &["spec", "config", "databases", "[]", "redis", "sentinel"];
const PASSWORD: &[&str] = &["spec", "config", "databases", "[]", "redis", "passwordFrom"];

/// Every rule; each has a test that it lets pass and refuses. Words in capitals are replaced by what they stand for.
pub const RULES: &[Rule] = &[
    rule(
        &[],
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40",
        "metadata.name has to be lower-case letters, digits and `-`, start with a letter, and be at most 40 long",
    ),
    rule(CONFIG, "has(self.auth) && has(self.auth.mode)", "auth.mode has to be said: `none` lets everybody call who can reach the gateway"),
    rule(CONFIG, "has(self.databases) && size(self.databases) > 0", "databases needs at least one entry"),
    rule(
        CONFIG,
        "!has(self.listen) || (!has(self.listen.data) && !has(self.listen.operations))",
        "listen.data and listen.operations are set by the operator, together with the ports of the pod",
    ),
    rule(DATABASE, "!(self.name in RESERVED)", "the name of a database is none of the words of the API itself: `keys`, `whoami`, `ws`"),
    rule(DATABASE, "has(self.redis)", "the kind of database has to be said: `redis`"),
    rule(
        REDIS,
        "has(self.url) != has(self.managed)",
        "exactly one of `url` (a Redis that exists) and `managed` (one that DBX runs) has to be given",
    ),
    rule(
        REDIS,
        "!has(self.managed) || (!has(self.username) && !has(self.passwordFrom) && !has(self.tls) && !has(self.sentinel))",
        "a managed Redis has credentials of its own",
    ),
    rule(
        MANAGED,
        "quantity(has(self.storage) ? self.storage : 'DEFAULT_STORAGE').compareTo(quantity(has(oldSelf.storage) ? oldSelf.storage : 'DEFAULT_STORAGE')) >= 0",
        "storage can grow but not shrink",
    ),
    rule(
        MANAGED,
        "(has(self.persistence) ? self.persistence : 'DEFAULT_PERSISTENCE') == (has(oldSelf.persistence) ? oldSelf.persistence : 'DEFAULT_PERSISTENCE')",
        "persistence cannot be changed: a Redis does not find what it has kept in another way",
    ),
    rule(
        MANAGED,
        "!has(self.persistence) || self.persistence != 'none' || (!has(self.storage) && !has(self.deleteStorage))",
        "`storage` and `deleteStorage` have no meaning with `persistence: none`, which keeps nothing",
    ),
    rule(
        MANAGED,
        "!has(self.maxmemoryPolicy) || (has(self.resources) && has(self.resources.limits) && has(self.resources.limits.memory))",
        "`maxmemoryPolicy` needs `resources.limits.memory`, of which the data may take 75 %",
    ),
    rule(
        MEMORY,
        "!has(self.memory) || quantity(self.memory).compareTo(quantity('MIN_MEMORY')) >= 0",
        "the limit of memory of a managed Redis has to be at least 16Mi",
    ),
    rule(
        PASSWORD,
        "!has(self.file) && !has(self.env)",
        "`file` and `env` have no meaning in a pod that the operator makes; use `secretKeyRef`",
    ),
    rule(
        PASSWORD,
        "has(self.secretKeyRef) != has(self.configMapKeyRef)",
        "exactly one of `secretKeyRef` and `configMapKeyRef` has to be given",
    ),
    rule(
        SENTINEL,
        "!has(self.passwordFrom) || (has(self.passwordFrom.secretKeyRef) != has(self.passwordFrom.configMapKeyRef) && !has(self.passwordFrom.file) && !has(self.passwordFrom.env))",
        "the Sentinels' `passwordFrom` is exactly one of `secretKeyRef` and `configMapKeyRef`",
    ),
    rule(TLS, "has(self.certificateFrom) == has(self.keyFrom)", "`certificateFrom` and `keyFrom` belong together"),
    rule(
        TLS,
        "(!has(self.caFrom) || (has(self.caFrom.secretKeyRef) != has(self.caFrom.configMapKeyRef) && !has(self.caFrom.file) && !has(self.caFrom.env))) && (!has(self.certificateFrom) || (has(self.certificateFrom.secretKeyRef) != has(self.certificateFrom.configMapKeyRef) && !has(self.certificateFrom.file) && !has(self.certificateFrom.env))) && (!has(self.keyFrom) || (has(self.keyFrom.secretKeyRef) != has(self.keyFrom.configMapKeyRef) && !has(self.keyFrom.file) && !has(self.keyFrom.env)))",
        "each of `caFrom`, `certificateFrom` and `keyFrom` is exactly one of `secretKeyRef` and `configMapKeyRef`",
    ),
    rule(&["spec", "image"], "!has(self.tag) || !has(self.digest)", "`tag` and `digest` exclude each other"),
    rule(
        &["spec", "podLabels"],
        "self.all(key, !key.startsWith('app.kubernetes.io/') && !key.startsWith('dbx.dev/'))",
        "labels under app.kubernetes.io/ and dbx.dev/ are the operator's",
    ),
    rule(
        &["spec", "podAnnotations"],
        "self.all(key, !key.startsWith('dbx.dev/') && key != 'kubectl.kubernetes.io/restartedAt')",
        "annotations under dbx.dev/ are the operator's, and kubectl.kubernetes.io/restartedAt belongs to `kubectl rollout restart`",
    ),
    rule(
        &["spec", "service"],
        "!has(self.nodePort) || (has(self.type) && self.type != 'ClusterIP')",
        "nodePort needs the type `NodePort` or `LoadBalancer`",
    ),
    rule(&["spec"], "!has(self.replicas) || !has(self.autoscaling)", "`replicas` and `autoscaling` exclude each other"),
    rule(
        &["spec", "autoscaling"],
        "!has(self.minReplicas) || self.minReplicas <= self.maxReplicas",
        "minReplicas has to be at most maxReplicas",
    ),
    rule(
        &["spec", "serviceAccount"],
        "!has(self.name) || !has(self.annotations)",
        "annotations are those of the ServiceAccount that the operator makes; one with a `name` exists and is not changed",
    ),
    rule(
        &["spec", "extraEnv", "[]"],
        "!self.name.startsWith('DBX_') && self.name != 'REDIS_URL'",
        "the gateway is set by spec.config, not by variables",
    ),
    rule(&["spec", "extraEnv", "[]"], "!has(self.value) || !has(self.valueFrom)", "`value` and `valueFrom` exclude each other"),
    rule(
        &["spec", "extraVolumes", "[]"],
        "self.name != 'config' && !self.name.startsWith('secret-')",
        "volumes named `config` and `secret-…` are the operator's",
    ),
    rule(&["spec", "extraVolumeMounts", "[]"], "!self.mountPath.startsWith('/etc/dbx')", "what is below /etc/dbx is the operator's"),
    rule(&["spec", "expose"], "has(self.ingress) || has(self.httpRoute)", "expose needs `ingress` or `httpRoute`"),
];

/// The CustomResourceDefinition of [`DbxGateway`].
pub fn crd() -> CustomResourceDefinition {
    // Items keep their identity by name, which lets a rule compare an item with what it was.
    definition(DbxGateway::crd(), RULES, &[DATABASES], |rule| {
        rule.replace("DEFAULT_STORAGE", Managed::DEFAULT_STORAGE)
            .replace("RESERVED", &format!("{RESERVED:?}"))
            .replace("DEFAULT_PERSISTENCE", Persistence::default().name())
            .replace("MIN_MEMORY", Managed::MIN_MEMORY)
    })
}
