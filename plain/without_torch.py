"""A GPT without PyTorch, from counts to Adam, in one to two minutes: python plain/without_torch.py [ITERATIONS]"""

import math
import random
import sys

T, C = 8, 16  # tokens in a window, channels of a token; one head and one block
ITERATIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
random.seed(1337)

with open(f"{sys.path[0]}/../data/tinyshakespeare.txt") as file:  # sys.path[0]: the folder of this file
    text = file.read()
vocabulary = sorted(set(text))
V = len(vocabulary)
ids = [vocabulary.index(character) for character in text]
train, val = ids[:1_000_000], ids[1_000_000:]
pairs = list(zip(val, val[1:]))

# 1. Counts: after a, b is as likely as it was in the text. Each count starts at 1, so that nothing is impossible.
counts = [[1] * V for _ in range(V)]
for a, b in zip(train, train[1:]):
    counts[a][b] += 1
losses = [[-math.log(count / sum(row)) for count in row] for row in counts]
print(f"1. counts: {sum(losses[a][b] for a, b in pairs) / len(pairs):.3f}")


# 2. The same table by gradient descent. The loss of b after a is -log p[b], where p = softmax(table[a]). Its derivative
# with respect to table[a][j] is p[j], less 1 for j = b.
table = [[0.0] * V for _ in range(V)]
for _ in range(100_000):
    i = random.randrange(len(train) - 1)
    a, b = train[i], train[i + 1]
    exps = [math.exp(logit) for logit in table[a]]
    total = sum(exps)
    for j in range(V):
        table[a][j] -= 0.1 * (exps[j] / total - (j == b))
losses = [[math.log(sum(map(math.exp, row))) - logit for logit in row] for row in table]
print(f"2. descent: {sum(losses[a][b] for a, b in pairs) / len(pairs):.3f}")


# 3. Derivatives of anything: a Value remembers what it was computed from, and how fast it changes with each of them.
class Value:
    def __init__(self, data, inputs=(), slopes=()):
        self.data, self.inputs, self.slopes, self.grad = data, inputs, slopes, 0.0

    def __add__(self, other):
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, power):
        return Value(self.data**power, (self,), (power * self.data ** (power - 1),))

    def exp(self):
        return Value(math.exp(self.data), (self,), (math.exp(self.data),))

    def log(self):
        return Value(math.log(self.data), (self,), (1 / self.data,))

    def relu(self):
        return Value(max(0.0, self.data), (self,), (float(self.data > 0),))

    def backward(self):
        """Set the grad of every Value that this one depends on, by the chain rule, from the last to the first."""
        order, seen = [], set()  # the order in which they were computed: each after its inputs

        def visit(value):
            if value not in seen:
                seen.add(value)
                for number in value.inputs:
                    visit(number)
                order.append(value)

        visit(self)
        self.grad = 1.0
        for value in reversed(order):
            for number, slope in zip(value.inputs, value.slopes):
                number.grad += slope * value.grad


def dot(x, y):  # one Value instead of one for each product and sum, which would be slow
    return Value(sum(a.data * b.data for a, b in zip(x, y)), (*x, *y), [value.data for value in (*y, *x)])


def add(x, y):
    return [a + b for a, b in zip(x, y)]


def softmax(x):
    exps = [value.exp() for value in x]
    total = Value(sum(value.data for value in exps), exps, [1.0] * len(exps))
    return [value * total**-1 for value in exps]


# 4. v5 with one head and one block. A matrix is a list of rows, one for each output. Its last column, if it has
# biases, holds them and is multiplied by 1.
sizes = {"token": (V, C), "position": (T, C), "query": (C, C), "key": (C, C), "value": (C, C)}
sizes |= {"projection": (C, C + 1), "widen": (4 * C, C + 1), "narrow": (C, 4 * C + 1), "lm_head": (V, C + 1)}
weights = {
    name: [[Value(random.gauss(0, columns**-0.5)) for _ in range(columns)] for _ in range(rows)]
    for name, (rows, columns) in sizes.items()
}
one, scale = Value(1.0), Value(C**-0.5)


def linear(name, x):
    return [dot(row, x) for row in weights[name]]


def predictions(window):
    """For each token of a window, the probabilities (V of them) of the token after it."""
    stream = [add(weights["token"][i], position) for i, position in zip(window, weights["position"])]
    keys, values = [linear("key", x) for x in stream], [linear("value", x) for x in stream]
    for t, x in enumerate(stream):
        query = linear("query", x)
        attention = softmax([dot(query, key) * scale for key in keys[: t + 1]])  # to itself and what is before it
        x = add(x, linear("projection", [*(dot(attention, channel) for channel in zip(*values[: t + 1])), one]))
        x = add(x, linear("narrow", [*(y.relu() for y in linear("widen", [*x, one])), one]))
        yield softmax(linear("lm_head", [*x, one]))


def loss_of(window):
    logs = [p[target].log() for p, target in zip(predictions(window[:-1]), window[1:])]
    return dot(logs, [Value(-1 / len(logs))] * len(logs))  # minus their mean


# 5. Adam: each step is the running mean of a parameter's gradients, over the root of the running mean of their squares.
parameters = [parameter for rows in weights.values() for row in rows for parameter in row]
means, squares = [0.0] * len(parameters), [0.0] * len(parameters)
history = []  # the losses
for iteration in range(1, ITERATIONS + 1):
    start = random.randrange(len(train) - T)
    loss = loss_of(train[start : start + T + 1])
    loss.backward()
    for i, parameter in enumerate(parameters):
        means[i] = 0.9 * means[i] + 0.1 * parameter.grad
        squares[i] = 0.99 * squares[i] + 0.01 * parameter.grad**2
        size = (squares[i] / (1 - 0.99**iteration)) ** 0.5  # both means begin at 0, which the divisors make up for
        parameter.data -= 0.005 * means[i] / (1 - 0.9**iteration) / (size + 1e-8)
        parameter.grad = 0.0
    history.append(loss.data)
    if iteration % 200 == 0:
        print(f"5. iteration {iteration}: {sum(history[-200:]) / 200:.3f}, the mean of 200 windows", flush=True)

window = [0]  # the newline, which is first in the vocabulary
for _ in range(200):
    p = list(predictions(window[-T:]))[-1]
    window += random.choices(range(V), [value.data for value in p])
print("".join(vocabulary[i] for i in window))
