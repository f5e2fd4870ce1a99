"""What is right in each exercise, what usually goes wrong, and how the two are told apart."""

from exercises.checks import attention, blocks, counting, using
from exercises.checks.steps import Exercise

# In the order in which they are best done.
EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (
        *counting.EXERCISES,
        *attention.EXERCISES,
        *blocks.EXERCISES,
        *using.EXERCISES,
        attention.BACKWARD_EXERCISE,
    )
}
