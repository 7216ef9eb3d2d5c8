// SPDX-License-Identifier: Apache-2.0
// A circular doubly linked list, the node embedded in its owner. The lock that guards a list is its user's.
#pragma once

#include "types.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *l) {
    l->next = l->prev = l;
}
static inline bool list_empty(const struct list *l) {
    return l->next == l;
}
static inline void list_add_before(struct list *at, struct list *node) {
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}
static inline void list_push_back(struct list *l, struct list *node) {
    list_add_before(l, node);
}
static inline void list_push_front(struct list *l, struct list *node) {
    list_add_before(l->next, node);
}
// Leaves the node linked to itself, so that list_empty(node) tells whether it is in a list.
static inline void list_remove(struct list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

#define list_entry(node, type, member) container_of(node, type, member)
#define list_for_each(pos, head) for (struct list *pos = (head)->next; pos != (head); pos = pos->next)
#define list_for_each_safe(pos, tmp, head)                                                                             \
    for (struct list *pos = (head)->next, *tmp = pos->next; pos != (head); pos = tmp, tmp = tmp->next)
