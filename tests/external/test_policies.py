"""Admission policies as people use them with kubectl: parameters of their own kind, warnings, refusals, type checks."""

from tests.external.conftest import Kubectl, eventually

LIMITS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: replicalimits.rules.example.com}
spec:
  group: rules.example.com
  scope: Namespaced
  names: {kind: ReplicaLimit, plural: replicalimits, singular: replicalimit}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          maxReplicas:
            type: integer
            x-kubernetes-validations: [{rule: "self > 0", message: must be positive}]
"""
LIMIT = """
apiVersion: rules.example.com/v1
kind: ReplicaLimit
metadata: {name: limit}
maxReplicas: 3
"""
POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few-replicas}
spec:
  paramKind: {apiVersion: rules.example.com/v1, kind: ReplicaLimit}
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  validations:
  - expression: object.spec.replicas <= params.maxReplicas
    messageExpression: "'at most ' + string(params.maxReplicas) + ' replicas'"
  - expression: object.replicas > 0 || true
    message: never said
"""
BINDING = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: few-replicas}
spec:
  policyName: few-replicas
  paramRef: {name: limit, parameterNotFoundAction: Deny}
  validationActions: [ACTION]
  matchResources:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
"""
LABELS = """
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: owned}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}
  reinvocationPolicy: Never
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: "Object{metadata: Object.metadata{labels: {'owner': request.userInfo.username}}}"
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: owned}
spec: {policyName: owned}
"""


def test_a_policy_with_parameters_warns_and_then_refuses(kubectl: Kubectl, namespace: str) -> None:
    create = ("-n", namespace, "create", "deployment", "--image=process")
    kubectl("apply", "-f", "-", stdin=LIMITS)
    try:
        kubectl(
            "wait", "--for=condition=Established", "crd/replicalimits.rules.example.com", "--timeout=120s"
        )
        kubectl("-n", namespace, "apply", "-f", "-", stdin=LIMIT)
        kubectl("apply", "-f", "-", stdin=POLICY)
        binding = BINDING.replace("NAMESPACE", namespace)
        kubectl("apply", "-f", "-", stdin=binding.replace("ACTION", "Warn"))
        warned = kubectl.run(*create, "many", "--replicas=4")
        assert warned.returncode == 0
        assert (
            "Warning: Validation failed for ValidatingAdmissionPolicy 'few-replicas' with binding 'few-replicas': at most 3 replicas"
            in warned.stderr
        )
        kubectl("apply", "-f", "-", stdin=binding.replace("ACTION", "Deny"))
        refused = kubectl.fails(*create, "more", "--replicas=4")
        by = "ValidatingAdmissionPolicy 'few-replicas' with binding 'few-replicas'"
        assert f"{by} denied request: at most 3 replicas" in refused
        assert "at most 3 replicas" in kubectl.fails(*create, "more", "--replicas=4", "--dry-run=server")
        kubectl(*create, "more", "--replicas=3", "--dry-run=server")
        assert "must be positive" in kubectl.fails(
            "-n", namespace, "patch", "replicalimit", "limit", "--type=merge", "-p", '{"maxReplicas":0}'
        )
        kubectl("-n", namespace, "patch", "replicalimit", "limit", "--type=merge", "-p", '{"maxReplicas":4}')
        kubectl(*create, "more", "--replicas=4")

        def warning() -> str:
            path = "jsonpath={.status.typeChecking.expressionWarnings[*].warning}"
            return kubectl("get", "validatingadmissionpolicy", "few-replicas", "-o", path)

        assert "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'" in str(
            eventually(warning)
        )
    finally:
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            kubectl("delete", kind, "few-replicas", "--ignore-not-found")
        kubectl("delete", "crd", "replicalimits.rules.example.com")


def test_a_policy_that_does_not_compile_is_refused_with_the_place(kubectl: Kubectl) -> None:
    refused = kubectl.fails(
        "apply", "-f", "-", stdin=POLICY.replace("object.replicas > 0 || true", "object.replicas >")
    )
    assert "spec.validations[1].expression" in refused
    assert (
        "compilation failed: ERROR: <input>:1:18: Syntax error: mismatched input '<EOF>' expecting" in refused
    )


def test_a_mutating_policy_changes_what_is_created(kubectl: Kubectl, namespace: str) -> None:
    kubectl("apply", "-f", "-", stdin=LABELS.replace("NAMESPACE", namespace))
    try:
        kubectl("-n", namespace, "create", "configmap", "a", "--from-literal=x=y")
        owner = kubectl("-n", namespace, "get", "configmap", "a", "-o", "jsonpath={.metadata.labels.owner}")
        assert owner == kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
        assert "owned" in kubectl("get", "mutatingadmissionpolicies,mutatingadmissionpolicybindings")
    finally:
        kubectl("delete", "mutatingadmissionpolicybinding,mutatingadmissionpolicy", "owned")
